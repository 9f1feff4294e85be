"""The Dagster deployment: assets, checks, partitions, schedule, resources and the command line."""
