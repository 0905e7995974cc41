"""What is asked of a machine's services from the controller: HTTP and SIP."""
