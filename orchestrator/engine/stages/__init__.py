"""The four stages. Each turns instructions into events and knows none of the others."""
