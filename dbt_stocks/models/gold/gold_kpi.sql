{{ latest_quotes('last_fetched', 'fetched_at DESC, market_timestamp_raw DESC') }}
