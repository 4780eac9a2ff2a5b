"""Published marts and audience files. No dagster here."""
