"""The private DuckDB warehouse and dbt, as seen from Python. No dagster here."""
