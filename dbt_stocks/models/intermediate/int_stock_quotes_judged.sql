{{ config(materialized='view') }}

{{ judged_quotes('TRUE') }}
