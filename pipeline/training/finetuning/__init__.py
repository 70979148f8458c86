"""Fine-tuning for small sets: what of a network trains, when, how fast, and in how many parameters."""
