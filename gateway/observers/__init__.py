"""What is told about calls after they ended: the log, its redaction and its sampling."""
