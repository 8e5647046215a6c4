"""transform-quotes: runs dbt on a schedule."""
