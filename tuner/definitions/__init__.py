"""What a study is: its fields, the forms it is written in, and what is wrong with them."""
