"""Cases from the field: faults that people report, each with what is right."""
