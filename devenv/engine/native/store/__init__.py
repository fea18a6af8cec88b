"""What is kept: blobs and tags in an OCI layout, layers as folders, and what removes what nobody needs."""
