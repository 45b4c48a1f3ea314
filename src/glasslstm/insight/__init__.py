"""What happened inside an LSTM."""
