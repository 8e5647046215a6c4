{{ latest_quotes('last_traded', 'market_timestamp_raw DESC') }}
