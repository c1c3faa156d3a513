"""The streaming runtime: steps, retries, dead letters and folds over Kafka."""
