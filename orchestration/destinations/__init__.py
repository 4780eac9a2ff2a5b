"""Places that records are sent to, each behind the one protocol of `orchestration.destinations.protocol`."""
