"""Cases that were met in the field, one module a part of the product."""
