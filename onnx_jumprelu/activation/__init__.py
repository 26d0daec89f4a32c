"""What the activation is: its definition, its parameters, its nodes, how it is found, its derivatives."""
