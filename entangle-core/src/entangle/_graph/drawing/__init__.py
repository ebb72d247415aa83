"""Pictures of graphs: what is drawn, where it goes, how each format writes it."""
