"""The client for asyncio. The one without it, in the folder above, is generated from these modules by `make docs`."""
