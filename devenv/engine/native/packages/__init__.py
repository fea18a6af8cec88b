"""What is fetched: kept by content, unpacked once, put together. Nothing of it is run on the host."""
