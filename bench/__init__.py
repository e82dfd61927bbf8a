"""The benchmarks behind `make bench`: one JSON object a line, ratios measured side by side in one run."""
