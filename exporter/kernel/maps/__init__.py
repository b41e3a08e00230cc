"""The kernel's maps, one module for each kind of thing that is kept in them."""
