"""Cases from the field: what people meet with files, data and commands of their own."""
