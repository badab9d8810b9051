"""How heads form: training a small model, and measuring the checkpoints of training runs."""
