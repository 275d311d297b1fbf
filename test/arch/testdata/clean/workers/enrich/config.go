package enrich
