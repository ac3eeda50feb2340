"""Where merges come from: candidates found on the Hub, judged, pooled, and fetched."""
