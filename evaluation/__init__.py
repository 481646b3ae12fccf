"""How good an encoder is: evaluators behind one small contract."""
