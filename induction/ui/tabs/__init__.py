"""The tabs of the page, one file each with ``build(page)``, and what they say in words and tables."""
