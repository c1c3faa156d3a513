"""What requests and answers hold, as types: they parse the one, write the other and make the document."""
