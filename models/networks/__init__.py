"""Networks as graphs: where they can be cut, and the cutting."""
