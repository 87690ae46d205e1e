"""Kill switches: the operator's stop. Pure: which switch, of all sources, stops this call now?"""
