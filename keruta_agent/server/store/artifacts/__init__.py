"""Where the bytes of artifacts are: files of this server, or objects that all servers share."""
