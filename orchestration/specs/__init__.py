"""Declared tags, funnels and audiences: typed models, loader, compiler. No dagster here."""
