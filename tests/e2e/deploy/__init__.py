"""How the project is deployed, under test: manifests, mesh, images and pipelines."""
