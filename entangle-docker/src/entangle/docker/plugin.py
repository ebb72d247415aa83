"""tmp"""
ENTANGLE_SPI = 1
