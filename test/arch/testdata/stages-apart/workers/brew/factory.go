package brew
