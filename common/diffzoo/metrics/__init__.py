"""How a generator is judged: a Frechet distance on fixed features, and an audit of what it copies."""
