"""What a signal costs: its excess in USD a day. Prices and costs are passed in (per token, per call, per run)."""
