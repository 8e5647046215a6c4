"""transform-quotes: runs dbt when quotes were loaded."""
