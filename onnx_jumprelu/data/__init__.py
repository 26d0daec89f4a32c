"""Reading labelled data and splitting them."""
