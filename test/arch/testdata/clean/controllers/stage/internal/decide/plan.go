package decide

import _ "k8s.io/client-go/applyconfigurations/apps/v1"
