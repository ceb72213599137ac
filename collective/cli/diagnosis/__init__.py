"""What is wrong with an installation or a client, and what to do: findings, and the checks that make them."""
