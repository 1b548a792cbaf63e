"""The proof that a class works, from a server's start to a collected submission, with a student of its own."""
