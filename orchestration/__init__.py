"""Jingxi: the pipeline around the dbt project."""
