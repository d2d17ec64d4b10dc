"""Apache Beam jobs: polygon annotations and images to sharded TFRecords; sample data, inspection."""

import logging

# Beam's import warns of a Google Cloud client that nothing here needs, before any command can set up its log.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
