"""Cases from the field: what people met in public threads and in reviews, each made anew."""
