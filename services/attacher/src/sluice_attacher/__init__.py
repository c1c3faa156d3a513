"""Streams attachments into the object store and files into projects."""
