"""An S3-compatible server on loopback (moto), with a bucket."""

from __future__ import annotations

import logging
from typing import Any

import boto3
from moto.server import ThreadedMotoServer


class FakeS3:
    BUCKET, ACCESS_KEY, SECRET_KEY = "deliveries", "access-key-0123456789", "secret-key-0123456789"

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self.reset()

    def reset(self) -> None:
        """Empty the bucket."""
        import moto.backends

        moto.backends.get_backend("s3").reset()
        self.client.create_bucket(Bucket=self.BUCKET)

    def objects(self) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=self.BUCKET).get("Contents", [])
        return {
            own["Key"]: self.client.get_object(Bucket=self.BUCKET, Key=own["Key"])["Body"].read()
            for own in listed
        }

    def stop(self) -> None:
        self._server.stop()
