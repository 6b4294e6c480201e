DOCKER_IMAGE = "lading-test/primes-app"
VERSION = "1.0"
