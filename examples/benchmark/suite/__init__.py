"""The benchmark behind run.py: what is measured (`scenarios`), how (`measure`), and what is made of it (`report`)."""
