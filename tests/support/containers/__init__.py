"""A Docker engine, base images and Compose projects for the tests, also where no container registry is reached."""
