"""Where rows live: the database behind the tables."""
